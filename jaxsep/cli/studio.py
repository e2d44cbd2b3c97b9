"""`jaxsep studio`: a local page to separate songs and to listen to the stems."""

import argparse
import ipaddress
import math
import os
import secrets
import socket
import threading
import webbrowser

from jaxsep.cli.options import (
    INTERRUPTED,
    USAGE_ERROR,
    CommandError,
    add_models,
    complain,
    ending,
    named_models,
)
from jaxsep.studio import memory

SHUTDOWN_SECONDS = 2  # that open connections get; a page that watches a song never closes its own


def add(commands) -> None:
    parser = commands.add_parser(
        "studio",
        help="open a page: drop songs, listen to the stems, compare models, take the files away",
        description="Serves a web page on this computer, until Ctrl-C. Songs and stems stay in a"
        " temporary folder, which is removed in the end.",
    )
    add_models(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="any but this computer's own needs a token, which is printed; default: 127.0.0.1",
    )
    parser.add_argument("--port", type=int, default=0, help="default: one that is free")
    parser.add_argument("--no_browser", action="store_true", help="print the address alone")
    parser.add_argument(
        "--max_megabytes", type=float, default=500, metavar="MB", help="of a song; default: 500"
    )
    parser.add_argument(
        "--max_minutes", type=float, default=20, metavar="MINUTES", help="of a song; default: 20"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    memory.keep_few_pools()
    try:
        import uvicorn

        from jaxsep.studio.app import make_app
        from jaxsep.studio.connections import Connection
    except ImportError as error:
        raise CommandError(f"needs {error.name}: pip install 'jaxsep[studio]'") from error
    from jaxsep.models.files import ModelError
    from jaxsep.studio.models import Models
    from jaxsep.studio.queue import Limits, Studio
    from jaxsep.studio.workspace import workspace

    if not (0 < args.max_megabytes < math.inf and 0 < args.max_minutes < math.inf):
        raise CommandError("--max_megabytes and --max_minutes must be more than 0, and finite")
    if not 0 <= args.port < 2**16:
        raise CommandError(f"--port={args.port} must be 0 (one that is free) to {2**16 - 1}")
    with ending(USAGE_ERROR, ModelError, ValueError, OSError, OverflowError):
        models = Models(named_models(args.model))
        server = open_socket(args.host, args.port)
    host, port = server.getsockname()[:2]
    token = None if ipaddress.ip_address(host).is_loopback else secrets.token_urlsafe(16)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    address += f"?token={token}" if token else ""
    print(f"jaxsep studio: {address} (Ctrl-C ends it)", flush=True)
    limits = Limits(args.max_megabytes, args.max_minutes)
    try:
        with workspace() as folder:
            app = make_app(Studio(models, folder, limits), token)
            if not args.no_browser:  # a thread, as some browsers keep the terminal
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
            config = uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                log_level="warning",
                log_config=None,  # else handlers of others would close standard error
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
            uvicorn.Server(config).run(sockets=[server])
    except KeyboardInterrupt:
        complain("ended; its songs and stems are removed")
        return INTERRUPTED
    return 0


def open_socket(host: str, port: int) -> socket.socket:
    """Listens at an address; port 0 is one that is free.

    Raises:
      OSError: if that isn't possible; the message says where.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise OSError(
            f"--host={host} --port={port}: can't be used ({reason}); take others, or leave them out"
        ) from error
