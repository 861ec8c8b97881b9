"""The KMS: everything that runs in the key process `evsd-keys`, and evsd's client of it.

`process` is the program. `keystore` is how every operation meets a CMK: found, allowed, in a state
that permits it; `token` is PKCS#11 and `crypto` every cryptographic primitive. The operations:
`lifecycle`, `datakeys`, `grants`, `imports`, `rotation`, `tags`, `access_keys`, and for the volume
service `volumekeys` and `release`. `upkeep` does what falls due by itself, `usage` records each
use, `states` is the life of a key. Other packages import `client`, `call`, `context` and the
digests of `crypto`.
"""
