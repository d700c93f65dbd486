// Search over titles, headings and text. The texts come from search-data.js, which is fetched as a
// script when the field is first used: that works from a folder as well as from a server.
(() => {
  const root = document.currentScript.dataset.root;
  const field = document.getElementById("search");
  const found = document.getElementById("found");
  const MOST = 12;
  let sections = null;

  const simple = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

  function load() {
    if (load.begun) return;
    load.begun = true;
    const script = document.createElement("script");
    script.src = root + "assets/search-data.js";
    script.onload = () => {
      sections = SEARCH_DATA.flatMap(([page, title, parts]) =>
        parts.map(([anchor, heading, text]) => ({
          page, title, anchor, heading, text,
          simple: { title: simple(title), heading: simple(heading), text: simple(text) },
        })));
      show();
    };
    script.onerror = () => say("The search's texts are missing beside these pages.");
    document.head.append(script);
  }

  // Every word must be there; where it stands decides the order.
  function score(section, words) {
    let sum = 0;
    for (const word of words) {
      const { title, heading, text } = section.simple;
      const at = text.indexOf(word);
      let worth = 0;
      if (heading.includes(word)) worth += 8;
      if (title.includes(word)) worth += 2;
      if (at >= 0) worth += 2 + Math.min(4, text.split(word).length - 2) + (/\p{L}|\p{N}/u.test(text[at - 1] ?? " ") ? 0 : 1);
      if (!worth) return 0;
      sum += worth;
    }
    return sum;
  }

  // The text around the first word, each word marked.
  function excerpt(section, words) {
    const paragraph = document.createElement("p");
    const first = words.map((word) => section.simple.text.indexOf(word)).filter((at) => at >= 0);
    const start = Math.max(0, Math.min(...first, section.text.length) - 50);
    const from = first.length && start ? section.text.indexOf(" ", start) + 1 : 0;
    let rest = (from ? "… " : "") + section.text.slice(from, from + 160);
    if (from + 160 < section.text.length) rest += " …";
    while (rest) {
      const low = simple(rest);
      const hits = low.length === rest.length ? words.map((word) => [low.indexOf(word), word]).filter(([at]) => at >= 0) : [];
      if (!hits.length) { paragraph.append(rest); break; }
      const [at, word] = hits.sort((a, b) => a[0] - b[0] || b[1].length - a[1].length)[0];
      const mark = document.createElement("mark");
      mark.textContent = rest.slice(at, at + word.length);
      paragraph.append(rest.slice(0, at), mark);
      rest = rest.slice(at + word.length);
    }
    return paragraph;
  }

  function say(text) {
    const line = document.createElement("p");
    line.textContent = text;
    found.replaceChildren(line);
    found.hidden = false;
  }

  function show() {
    const words = simple(field.value).split(/\s+/).filter(Boolean);
    found.hidden = !words.length;
    if (!words.length || !sections) return;
    const hits = sections.map((section) => [score(section, words), section]).filter(([worth]) => worth);
    hits.sort((a, b) => b[0] - a[0]);
    if (!hits.length) return say("Nothing found.");
    const list = document.createElement("ol");
    for (const [, section] of hits.slice(0, MOST)) {
      const link = document.createElement("a");
      link.href = root + section.page + (section.heading === section.title ? "" : "#" + encodeURIComponent(section.anchor));
      const heading = document.createElement("strong");
      heading.textContent = section.heading;
      const title = document.createElement("small");
      title.textContent = section.heading === section.title ? "" : section.title;
      link.append(heading, title, excerpt(section, words));
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    const count = document.createElement("p");
    count.textContent = hits.length > MOST ? `The best ${MOST} of ${hits.length} sections` : `${hits.length} section${hits.length > 1 ? "s" : ""}`;
    found.replaceChildren(count, list);
  }

  field.addEventListener("focus", load);
  field.addEventListener("input", () => { load(); show(); });
  field.addEventListener("keydown", (event) => {
    const first = found.querySelector("a");
    if (event.key === "Enter" && first && !found.hidden) first.click();
    if (event.key === "ArrowDown" && first) { event.preventDefault(); first.focus(); }
  });
  found.addEventListener("keydown", (event) => {
    const links = [...found.querySelectorAll("a")];
    const next = links.indexOf(document.activeElement) + { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (Number.isNaN(next)) return;
    event.preventDefault();
    (links[next] ?? field).focus();
  });
  found.addEventListener("click", (event) => { if (event.target.closest("a")) found.hidden = true; });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") found.hidden = true;
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(document.activeElement.tagName)) {
      event.preventDefault();
      field.focus();
    }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".search")) found.hidden = true; });

  // On a narrow screen the contents begin folded.
  const contents = document.querySelector(".contents details");
  if (contents && !matchMedia("(min-width: 70rem)").matches) contents.open = false;
})();
