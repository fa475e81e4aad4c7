// Choosing a component: colours every token anew from the numbers in the page. No request is made.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("numbers").textContent);
  const tokens = [...document.querySelectorAll(".text .t")];
  const passages = [...document.querySelectorAll(".passage")];
  const form = document.getElementById("choose");
  const tip = document.getElementById("tip");
  const say = (id, text) => { document.getElementById(id).textContent = text; };

  const unpack = ({ factor, data: text }, signed) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const read = signed ? "getInt16" : "getUint16";
    return Float64Array.from({ length: bytes.length / 2 }, (_, i) => factor * view[read](2 * i, true));
  };
  const className = (letter) => {
    const level = letter.charCodeAt(0) - data.zero;
    return "t " + (level === 0 ? "z" : (level > 0 ? "p" : "n") + Math.abs(level));
  };
  const signed = (x, digits) => (x < 0 ? "−" : "+") + Math.abs(x).toPrecision(digits);

  // The static page says each token's text and numbers in its title; the texts are kept.
  const texts = tokens.map((token) => token.title.slice(0, token.title.lastIndexOf(": χ ")));
  tokens.forEach((token, i) => { token.removeAttribute("title"); token.dataset.i = i; });

  let chi, error, losses;
  const paint = () => {
    const component = +form.component.value;
    const checkpoint = form.checkpoint ? +form.checkpoint.value : data.frames[0].checkpoint;
    const frame = data.frames.find((f) => f.component === component && f.checkpoint === checkpoint);
    chi = unpack(frame.chi, true);
    error = unpack(frame.error, false);
    losses = data.loss[checkpoint];
    tokens.forEach((token, i) => { token.className = className(frame.levels[i]); });
    document.querySelectorAll(".legend [data-bound]").forEach((mark) => {
      mark.textContent = frame.bounds[+mark.dataset.bound];
    });
    say("coloured", data.components[component]);
    say("signal", frame.signal);
    tip.hidden = true;
  };
  const filter = () => {
    const probe = form.probe.value;
    passages.forEach((p) => { p.hidden = probe !== "" && p.dataset.probe !== probe; });
  };

  const show = (token) => {
    const i = +token.dataset.i;
    const z = error[i] > 0 ? signed(chi[i] / error[i], 2) : "–";
    const noise = token.classList.contains("z") ? "; within 2 SE of zero" : "";
    const word = document.createElement("b");
    word.textContent = texts[i];
    tip.replaceChildren(word, document.createElement("br"),
      `χ ${signed(chi[i], 3)} ± ${error[i].toPrecision(2)} · z ${z}${noise}`,
      document.createElement("br"),
      `loss at w* ${losses[i]} · ${data.probes[data.probe[i]]}, position ${data.position[i]}`);
    tip.hidden = false;
    const box = token.getClientRects()[0];
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(left, 4) + window.scrollX}px`;
    tip.style.top = `${box.bottom + window.scrollY + 6}px`;
  };
  const tokenAt = (event) => (event.target instanceof Element ? event.target.closest(".text .t") : null);

  // One tab stop a passage; the arrow keys walk along its tokens.
  passages.forEach((passage) => {
    passage.querySelectorAll(".t").forEach((token, i) => { token.tabIndex = i ? -1 : 0; });
  });
  document.addEventListener("mouseover", (event) => {
    const token = tokenAt(event);
    if (token) show(token); else if (!document.activeElement?.closest(".text")) tip.hidden = true;
  });
  document.addEventListener("focusin", (event) => {
    const token = tokenAt(event);
    if (!token) { tip.hidden = true; return; }
    token.closest(".passage").querySelectorAll(".t").forEach((t) => { t.tabIndex = -1; });
    token.tabIndex = 0;
    show(token);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
    const token = tokenAt(event);
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!token || !move) return;
    const next = tokens[+token.dataset.i + move];
    if (next && next.closest(".passage") === token.closest(".passage")) next.focus();
    event.preventDefault();
  });

  // A link to a component folds its tables out (newer browsers do so by themselves).
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  window.addEventListener("hashchange", unfold);
  unfold();

  form.hidden = false;
  form.addEventListener("change", () => { paint(); filter(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  paint();
  filter();
})();
