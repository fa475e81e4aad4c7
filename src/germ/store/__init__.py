"""Runs on disk: streamed as they are sampled, resumable to the bit, never reused by mistake.

A run is a folder `NAME.zarr`, a Zarr v3 group::

    zarr.json             what was asked (identity), how far it is (status), provenance, results
    loss/zarr.json        one array per series, dims (chain, draw, ...), appended chunk by chunk
    loss/c.0.0            chunks, each written once
    warmup_loss/...       the same for warmup, dims (chain, warmup_step, ...)
    .state.safetensors    while sampling: the last commit, which is all that a resumed run needs
    .lock                 while a process writes

The whole of crash safety is two rules. A file that readers trust is replaced in one rename, after
its bytes are on disk (`files.write_durable`). A chunk holds only whole rows and is never touched
again once a commit counts it; the rows that do not fill a chunk yet travel in the commit itself.
So the last commit always names data that exist, whatever was being written when the process died.
"""

from germ.store.files import SCHEMA
from germ.store.reading import RunInfo, list_runs, load
from germ.store.run import Run

__all__ = ["Run", "load", "list_runs", "RunInfo", "SCHEMA"]
