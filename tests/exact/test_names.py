"""The public names of germ.exact: functions, whatever was imported before, and quick to import."""

import importlib
import subprocess
import sys
import types

import germ
import germ.exact


def test_every_name_is_there_and_none_is_a_module():
    for home in ("polynomial", "monomial", "deep_linear", "reduced_rank", "tanh", "mixture"):
        importlib.import_module(f"germ.exact.{home}")
    for name in germ.exact.__all__:
        assert callable(getattr(germ.exact, name)), name
        assert not isinstance(getattr(germ.exact, name), types.ModuleType), name
    assert germ.exact.tanh(1).multiplicity == 2


def test_the_package_is_found_from_germ_alone_without_pytorch_or_sympy():
    code = (
        "import germ, sys; print(germ.exact.deep_linear([2, 2, 2], 0), "
        "germ.exact.monomial([2, 4]), {'torch', 'sympy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "λ = 3/2, m = 1 λ = 1/4, m = 1 set()"
