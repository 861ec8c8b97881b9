"""The PKCS#11 token: opening it, trying it, and what is done with keys on it."""
