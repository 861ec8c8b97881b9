"""IAM: who there is, who a caller is, and who may do what."""
