"""The script nbdkit loads: serves one encrypted volume.

::

    LD_PRELOAD=.../front.so
    nbdkit --foreground --unix SOCKET --threads 4 [--readonly] .../front.so .../plugin.py
        file=PATH            the volume, a file or a block device
        attachment=ID        whose server this is
        release_socket=PATH  where the key service listens
        ticket_fd=N          inherited descriptor to read the ticket from: argv is public
        [clients_fd=N]       inherited descriptor of a file: who is connected, see `clients`; the
                             socket's directory then says who may connect
        [layer_fds=N,N...]   inherited descriptors of the layers below the file, the highest first;
                             see `layers`
        [layer_releases=VOLUME=ID,...]  by whose name the keys of a clone's layers are asked for
        [control_fd=N]       inherited descriptor of a socket that listens: see `control`
        [device=NAME]        export name under which the host's device connects, which alone may
                             write

Data requests go to `native/` by way of the front (`native/front.h`) or, with `python` in its
place, of the functions of `_datapath`; all else to `callbacks`. Preloaded, the front also sends
replies in one piece (`native/cork.h`) and receives requests in few (`native/read_ahead.h`). What is
here is compiled at every start of a server, so it is next to nothing.
"""

import sys

# nbdkit runs this file as a script and leaves its package out of the path.
sys.path.insert(0, __file__.rpartition("/nbd_plugin/")[0] or ".")

from nbd_plugin._datapath import cache, extents, flush, pread, pwrite, trim, zero  # noqa: F401
from nbd_plugin.callbacks import (  # noqa: F401
    API_VERSION,
    after_fork,
    block_size,
    can_cache,
    can_extents,
    can_fast_zero,
    can_flush,
    can_fua,
    can_multi_conn,
    can_trim,
    can_write,
    can_zero,
    cleanup,
    close,
    config,
    config_complete,
    get_size,
    is_rotational,
    open,  # noqa: A004
    thread_model,
)
