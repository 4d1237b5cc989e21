"""Files that pages load and that lie in other packages: plotly's script, as installed."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

router = APIRouter()


@cache
def _plotly_script() -> Path:
    path = resources.files("plotly") / "package_data" / "plotly.min.js"
    assert isinstance(path, Path)
    return path


@router.api_route("/plotly.js", methods=["GET", "HEAD"])
def plotly_script() -> Response:
    """Serve the plotly that is installed; pages ask for it by version, so it may be kept."""
    headers = {"Cache-Control": "private, max-age=604800"}
    return FileResponse(_plotly_script(), media_type="text/javascript", headers=headers)
