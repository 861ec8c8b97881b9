"""What evsd and evsd-keys say to each other; both sides import it."""
