"""What evsd-keys is built of: cryptography, the token, requests and their records."""
