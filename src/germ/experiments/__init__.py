"""The field's founding experiments, each one readable file and one command.

A module here has

    NAME      what `germ experiment NAME` calls it
    SUMMARY   one line: what comes out
    PRESETS   settings by preset name, a frozen dataclass each; `small` runs on two CPU cores
    run(settings, out, *, seed, progress) -> Page

`run` keeps what takes long in `out`, and takes it from there when it is started again.
"""
