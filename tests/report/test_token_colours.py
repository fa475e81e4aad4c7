"""The colours: strength is lightness for every eye, the sign needs no hue, all text is legible."""

from __future__ import annotations

import re

import numpy as np
import pytest

from germ.report import token_colours
from germ.report.markup import asset
from germ.report.susceptibility_page import colours
from germ.report.token_colours import INK, NEGATIVE, NOISE, PAPER, POSITIVE, levels, reference

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB; greyscale is luminance (Rec. 709).
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
    "greyscale": np.tile(LUMINANCE, (3, 1)),
}  # fmt: skip


def luminance(colour: str, eye: str = "usual") -> float:
    digits = colour.lstrip("#")
    digits = "".join(d * 2 for d in digits) if len(digits) == 3 else digits
    rgb = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(LUMINANCE @ np.clip(EYES[eye] @ linear, 0, 1))


def lightness(colour: str, eye: str) -> float:
    return 116 * np.cbrt(luminance(colour, eye)) - 16


def contrast(text: str, behind: str, eye: str = "usual") -> float:
    high, low = sorted((luminance(text, eye), luminance(behind, eye)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("ladder", [POSITIVE, NEGATIVE])
def test_stronger_is_darker_for_every_eye_by_steps_that_are_seen(eye, ladder):
    steps = -np.diff([lightness(colour, eye) for colour in (PAPER, *ladder)])
    assert (steps > 4).all()


def test_in_greyscale_a_level_is_as_dark_whatever_the_sign():
    for plus, minus in zip(POSITIVE, NEGATIVE, strict=True):
        assert lightness(plus, "greyscale") == pytest.approx(lightness(minus, "greyscale"), abs=0.7)


@pytest.mark.parametrize("eye", EYES)
def test_every_text_has_the_contrast_of_wcag_aa(eye):
    for behind in (PAPER, *POSITIVE, *NEGATIVE):
        assert contrast(INK, behind, eye) >= 4.5
    assert contrast(NOISE, PAPER, eye) >= 4.5


def test_the_texts_of_the_style_have_it_too():
    style = asset("susceptibility.css")
    used = set(re.findall(r"[{; ]color: (#[0-9a-f]{3,6})", style)) - {"#fff"}
    assert len(used) >= 4
    for colour in used:
        assert contrast(colour, PAPER) >= 4.5
    (tip,) = re.findall(r"color: #fff; background: (#[0-9a-f]{6})", style)
    assert contrast("#fff", tip) >= 4.5


def test_the_sign_is_told_by_a_bar_as_well_that_grows_with_the_level():
    rules = dict(re.findall(r"\.([pn]\d) \{([^}]*)\}", colours()))
    assert len(rules) == 10
    for letter, side in (("p", "overline"), ("n", "underline")):
        thick = []
        for level in range(1, 6):
            (width,) = re.findall(rf"text-decoration: {side} ([\d.]+)px", rules[f"{letter}{level}"])
            thick.append(float(width))
        assert thick[0] >= 1 and (np.diff(thick) > 0.3).all()


def test_noise_is_paler_than_signal_and_has_no_colour():
    assert contrast(NOISE, PAPER) < 0.5 * contrast(INK, PAPER)
    (rule,) = re.findall(r"\.z \{([^}]*)\}", colours())
    assert "background" not in rule and "decoration" not in rule


def test_levels_follow_the_size_and_noise_has_none():
    chi = np.array([0.05, 0.1, 0.25, 0.5, 0.8, 3.0])
    tight = np.full(6, 1e-3)
    assert levels(chi, tight, 1.0).tolist() == [1, 2, 3, 4, 5, 5]
    assert levels(-chi, tight, 1.0).tolist() == [-1, -2, -3, -4, -5, -5]
    assert levels(chi, chi / 1.99, 1.0).tolist() == [0] * 6
    assert levels(np.zeros(2), np.array([0.0, 1.0]), 1.0).tolist() == [0, 0]


def test_the_scale_is_set_by_signal_alone_and_not_by_one_outlier():
    chi = np.concatenate([np.linspace(0.5, 1.0, 1000), [100.0], [50.0]])
    error = np.concatenate([np.full(1001, 0.01), [49.0]])
    assert 0.9 < reference(chi, error) < 1.1
    assert reference(np.ones(3), np.ones(3)) == 1.0


def test_the_colour_map_is_white_at_zero_and_darker_both_ways():
    shades = [
        116 * np.cbrt(float(LUMINANCE @ np.power(token_colours.DIVERGING(x)[:3], 2.2))) - 16
        for x in np.linspace(0, 1, 21)
    ]
    assert shades[10] > 99
    assert (np.diff(shades[:11]) > 0).all() and (np.diff(shades[10:]) < 0).all()
