"""The KMS: everything that runs in the key process `evsd-keys`, and evsd's client of it.

`process` is the program, `service` the operations on keys, `access_keys` those on AK/SK pairs,
`usage` the record of each, `states` the life of a key, `token` PKCS#11, `crypto` every
cryptographic primitive, `release` how a volume's server gets its data key.
Other packages import `client`, `call`, `context` and the digests of `crypto`.
"""
