"""`kleash monitor`: the web app that shows runs while they train and after."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from kleash.cli.options import examples
from kleash.errors import RunError
from kleash.screen import remarks

app = typer.Typer()

LOCAL = "127.0.0.1"


@app.command(epilog=examples("kleash monitor", "kleash monitor runs/ --port 8322"))
def monitor(
    runs: Annotated[Path, typer.Argument(metavar="[RUNS]", help="Folder of runs, or one run.")] = Path("runs"),
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; 127.0.0.1 is this machine alone. No sign-in.")
    ] = LOCAL,
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8322,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="A further name that browsers may ask for it by; may be given often."),
    ] = None,
) -> None:
    """Show runs in the browser, live while they train, until Ctrl-C. It only reads."""
    import uvicorn

    from kleash.monitor.app import LOCAL_HOSTS, create_app

    if not runs.is_dir():
        raise RunError(
            f"No folder of runs at {runs}: there is no such folder. Expected one that `kleash run` writes into. "
            "Name it, or start a run first."
        )
    # On all addresses it goes by any of them; by a name only where that was said.
    hosts = (*LOCAL_HOSTS, f"[{host}]" if ":" in host else host, *(allow_host or ()))
    app = create_app(runs, allowed_hosts=hosts, allows_addresses=host in ("0.0.0.0", "::"))
    remarks().print(f"Runs at http://{host}:{port} (Ctrl-C ends it)", soft_wrap=True)
    threading.Thread(target=_warm_up, daemon=True).start()
    uvicorn.run(app, host=host, port=port, log_level="warning", use_colors=False)


def _warm_up() -> None:
    """Load what the first intervals need, half a second's work, while the reader is still opening the browser."""
    import scipy.stats  # noqa: F401
