"""evsd: encrypted block volumes whose keys live in an HSM."""

__version__ = "0.1.0"
