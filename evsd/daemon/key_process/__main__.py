"""evsd-keys, started by evsd alone."""

from evsd.daemon.key_process.main import main

main()
