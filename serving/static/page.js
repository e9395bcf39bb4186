"use strict";

// Everything here the server can do without: searching as one types, reasons that open in place,
// more results below the first, thumbs, and what is told to the click log.

const form = document.querySelector("form[role=search]");
const box = document.getElementById("q");
const narrow = matchMedia("(max-width: 50rem)");
const answer = document.getElementById("answer");
const said = document.getElementById("said");
const completions = document.getElementById("completions");

const TYPING_MS = 150;
const WORDS_MS = 500;
const SEEN_MS = 1000;

function later(action, ms) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(action, ms, ...values);
  };
}

function parsed(text) {
  return new DOMParser().parseFromString(text, "text/html");
}

async function fetched(address, part, signal) {
  const url = new URL(address, location.origin);
  url.searchParams.set("part", part);
  const response = await fetch(url, { signal });
  if (response.headers.get("Content-Type").startsWith("text/html")) return response.text();
  throw new Refused((await response.json()).detail);
}

// What the service does not answer now: too much is asked at a time, or a key is needed.
class Refused extends Error {}

addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof Refused)) return;
  event.preventDefault();
  const alert = Object.assign(document.createElement("p"), { className: "error refused" });
  alert.role = "alert";
  alert.textContent = event.reason.message;
  answer.querySelector(".refused")?.remove();
  answer.prepend(alert);
});

// --- searching as one types

let pending = new AbortController();

function addressOfForm() {
  const given = [...new FormData(form)].filter(([, value]) => value);
  return `/?${new URLSearchParams(given)}`;
}

async function show(address, { push = false } = {}) {
  pending.abort();
  pending = new AbortController();
  try {
    const text = await fetched(address, "answer", pending.signal);
    answer.replaceChildren(...parsed(text).body.childNodes);
    keepFacets();
    history[push ? "pushState" : "replaceState"](null, "", address);
    const query = new URL(address, location.origin).searchParams.get("q") || "";
    document.title = (query.trim() ? `${query} – ` : "") + answer.dataset.name;
    // a live region is read out only if it was there before its text
    said.textContent = answer.querySelector(".summary, .empty, .error")?.textContent || "";
    loadWords(address);
    seen();
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

const loadWords = later(async (address) => {
  const place = document.getElementById("words");
  if (!place) return;
  const text = await fetched(address, "words");
  if (place.isConnected) place.replaceChildren(...parsed(text).body.childNodes);
}, WORDS_MS);

const typed = later(() => {
  complete();
  if (box.value.trim()) show(addressOfForm());
}, TYPING_MS);

async function complete() {
  if (!box.value.trim()) return;
  const asked = box.value;
  const response = await fetch(`/v1/complete?q=${encodeURIComponent(asked.slice(0, 200))}`);
  if (!response.ok || box.value !== asked) return;
  const found = (await response.json()).completions;
  completions.replaceChildren(
    ...found.map((text) => Object.assign(document.createElement("option"), { value: text })),
  );
}

box.addEventListener("input", typed);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  show(addressOfForm(), { push: true });
});
form.addEventListener("change", (event) => {
  if (event.target !== box && box.value.trim()) show(addressOfForm(), { push: true });
});
addEventListener("popstate", () => location.reload());

// --- facets stay as open as they were; on a phone they would push the results away

let facetsOpen = !narrow.matches;

function keepFacets() {
  const facets = answer.querySelector(".facets");
  if (!facets) return;
  facets.open = facetsOpen;
  facets.addEventListener("toggle", () => (facetsOpen = facets.open));
}

// --- links inside of the answer: facets, suggestions, words, more results

answer.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const url = new URL(link.href);
  if (link.rel === "next") {
    event.preventDefault();
    await append(link);
  } else if (url.pathname === "/") {
    event.preventDefault();
    for (const field of form.elements) {
      if (field.type === "checkbox") field.checked = url.searchParams.has(field.name);
      else if (field.name) field.value = url.searchParams.get(field.name) || "";
    }
    show(url.pathname + url.search, { push: true });
  } else if (url.pathname.startsWith("/documents/")) {
    report("click", link.closest("article"));
  }
});

async function append(link) {
  const more = parsed(await fetched(link.href, "answer"));
  const hits = more.querySelectorAll(".hits > li");
  const next = more.querySelector(".next");
  // thumbs and clicks of these belong to the page that they came with
  const queryId = more.querySelector(".layout")?.dataset.queryId || "";
  for (const article of more.querySelectorAll("article")) article.dataset.queryId = queryId;
  answer.querySelector(".hits").append(...hits);
  if (next) link.parentElement.replaceWith(next);
  else link.parentElement.remove();
  hits[0]?.querySelector("a")?.focus();
}

// --- reasons, on demand

answer.addEventListener(
  "toggle",
  async (event) => {
    const why = event.target;
    if (!why.matches(".why") || !why.open || why.querySelector("table")) return;
    const page = parsed(await fetched(why.dataset.address, "answer"));
    const sections = [...page.querySelectorAll(".system")];
    [...answer.querySelectorAll(".system")].forEach((section, place) => {
      for (const article of section.querySelectorAll("article")) {
        const from = sections[place]?.querySelector(
          `article[data-doc-id="${CSS.escape(article.dataset.docId)}"] .reasons`,
        );
        if (from) article.querySelector(".reasons").replaceChildren(...from.childNodes);
      }
    });
  },
  true,
);

// --- what people saw and chose

function report(type, article, more = {}) {
  const queryId = article?.dataset.queryId || answer.querySelector(".layout")?.dataset.queryId;
  if (!queryId) return Promise.resolve(false);
  // randomUUID would need https, which an intranet may not have
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const event = { id, type, query_id: queryId, ...more };
  if (article) event.doc_id = article.dataset.docId;
  return fetch("/v1/clicks", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ events: [event] }),
    keepalive: true, // the page may be on its way out
  }).then((response) => response.ok);
}

const seen = later(() => report("impression"), SEEN_MS);

answer.addEventListener("click", async (event) => {
  const thumb = event.target.closest("[data-relevance]");
  if (!thumb) return;
  const relevance = Number(thumb.dataset.relevance);
  if (await report("judgment", thumb.closest("article"), { relevance })) {
    for (const other of thumb.parentElement.children) {
      other.setAttribute("aria-pressed", String(other === thumb));
    }
  }
});

// --- "/" goes to the search box, "j" and "k" walk through the results

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const titles = [...answer.querySelectorAll(".hits .title a")];
  const place = titles.indexOf(document.activeElement);
  if (event.key === "/") {
    event.preventDefault();
    box.focus();
    box.select();
  } else if (event.key === "j" && titles.length) {
    titles[Math.min(place + 1, titles.length - 1)].focus();
  } else if (event.key === "k" && titles.length) {
    titles[Math.max(place - 1, 0)].focus();
  }
});

keepFacets();
seen();
