"""`germ exact`: the first line is the answer, and bad questions are refused in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tests.cli.support import call, call_json, refused


@pytest.mark.parametrize(
    ("question", "first"),
    [
        (["x^2*y^4"], "λ = 1/4, m = 1"),
        (["(x^2-y^3)^2"], "λ = 5/12, m = 1"),
        (["((x-1)*(x^2+y^2)^2)^2", "--at", "x=1,y=3/10"], "λ = 1/2, m = 1"),
        (["((x-1)*(x^2+y^2)^2)^2", "--at", "x = 1"], "λ = 1/2, m = 1"),
        (["--dln", "455,395,125,350,277,261,297", "--rank", "28"], "λ = 41093/2, m = 3"),
        (["--rrr", "5,5,3", "--rank", "0"], "λ = 13/2, m = 2"),
        (["--tanh", "4"], "λ = 1, m = 2"),
    ],
)
def test_the_first_line_is_the_answer(question, first):
    result = call("exact", *question)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == first
    assert lines[1].startswith("  method: ") and lines[2].startswith("  source: ")
    assert len(lines) == 3


def test_the_finite_value_and_the_steps():
    lines = call("exact", "x^2*y^2", "--nbeta", "1e4", "--steps").stdout.splitlines()
    # 1/2 − 1/log 10⁴
    assert lines[3].endswith("= 0.391426")
    assert [line.split(".")[0].strip() for line in lines[4:]] == ["1", "2", "3", "4"]


def test_json_holds_the_question_and_the_answer():
    found = call_json("exact", "(x-1)^2*y^2", "--at", "x=1", "--nbeta", "100")
    assert found["K"] == "(x-1)^2*y^2" and found["at"] == {"x": "1"}
    assert (found["lambda"], found["lambda_float"], found["multiplicity"]) == ("1/2", 0.5, 2)
    assert found["expected"] == pytest.approx(0.5 - 1 / 4.605170)
    assert len(found["steps"]) == 5
    assert call_json("exact", "--rrr", "2,2,2", "--rank", "1")["rrr"] == [2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "got nothing"),
        (["x^2", "--tanh", "3"], "got K and --tanh"),
        (["--dln", "2,2,2"], "--dln needs a --rank"),
        (["x^2", "--rank", "1"], "K has no --rank"),
        (["--tanh", "3", "--at", "x=1"], "--at belongs to a polynomial"),
        (["--dln", "2,two,2", "--rank", "1"], "H0,...,HL; got '2,two,2'"),
        (["--rrr", "2,2", "--rank", "1"], "M,N,H; got '2,2'"),
        (["x^2", "--at", "x"], "got 'x'"),
        (["x^2", "--at", "x=1,x=2"], "each once"),
        (["x^2", "--at", "x=one"], "rational number such as 2, -3/10 or 0.3; got 'one'"),
        (["x^2", "--at", "x=1e999999999"], "got '1e999999999'"),
        (["x^2", "--at", "x=1/0"], "got '1/0'"),
        (["x^2", "--at", "z=0"], "got z"),
        (["x^2", "--at", "x=1"], "at x = 1 it is 1"),
        (["x^2", "--nbeta", "1"], "nbeta > 1"),
        (["x^2", "--nbeta", "many"], "many"),
        (["x"], "negative values"),
        (["exp(x)^2"], "function"),
        (["__import__('os').abort()"], "__import__"),
        (["x^4*y^2 + x^2*y^4 + z^6 - 3*x^2*y^2*z^2"], "cannot"),
        (["--tanh", "-1"], "-1"),
        (["--dln", "2,2,2", "--rank", "3"], "3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_questions_are_refused_in_one_line(arguments, told):
    assert told in refused("exact", *arguments)


def test_it_does_not_wait_for_pytorch():
    code = """
import sys
import germ.cli
for question in (["x^2*y^4 + x^6"], ["--rrr", "5,5,3", "--rank", "0"], ["--tanh", "3"]):
    assert germ.cli.app(["exact", *question], standalone_mode=False) == 0
print([name for name in ("torch", "xarray", "matplotlib", "scipy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
