"""Judges pages in a real browser. browser.py BROWSER DIRECTORY PICTURES PAGE...

A copy of each page gets a script that looks at what the browser laid out and writes what it finds wrong
into the document, which the browser then prints. PICTURES may be empty: then no screenshot is kept.
"""

import html
import json
import os
import pathlib
import re
import subprocess
import sys

WIDTHS = (1200, 500)
# Blink's numbers for prefers-color-scheme.
SCHEMES = {"dark": 0, "light": 1}
FOUND = re.compile(r'<pre id="found">(.*?)</pre>', re.DOTALL)

JUDGE = """
<script>
addEventListener('load', () => {
  const wrong = [];
  const tell = (what, element) => wrong.push(what + ': ' + (element.textContent || element.outerHTML).trim().slice(0, 90));
  const channels = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
  const luminance = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const contrast = colour => {
    const [low, high] = [luminance(colour), ground].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  // What the page says.
  for (const element of document.querySelectorAll('h1, h2, h3, p, li, th, td, caption'))
    if (contrast(getComputedStyle(element).color) < 4.5) tell('faint text', element);
  for (const element of document.querySelectorAll('svg text'))
    if (contrast(getComputedStyle(element).fill) < 4.5) tell('faint text', element);
  for (const element of document.querySelectorAll('.curve'))
    if (contrast(getComputedStyle(element).stroke) < 3) tell('faint curve', element);
  for (const element of document.querySelectorAll('.bar, .mark'))
    if (contrast(getComputedStyle(element).fill) < 3) tell('faint bar or mark', element);
  // What is drawn.
  const charts = [...document.querySelectorAll('svg[role=img]')];
  if (charts.length === 0) wrong.push('no chart');
  for (const chart of charts) {
    const frame = chart.getBoundingClientRect();
    const name = chart.querySelector('title').textContent;
    const curves = [...chart.querySelectorAll('polyline')], bars = [...chart.querySelectorAll('.bar')];
    if (curves.length + bars.length === 0) wrong.push('an empty chart: ' + name);
    for (const curve of curves)
      if (curve.points.numberOfItems < 2 || curve.getBBox().width === 0) tell('a curve without points in ' + name, curve);
    for (const bar of bars) if (!(bar.width.baseVal.value > 0)) tell('a bar without length in ' + name, bar);
    const texts = [...chart.querySelectorAll('text')];
    const boxes = texts.map(text => text.getBoundingClientRect());
    boxes.forEach((box, index) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        tell('a text leaves ' + name, texts[index]);
      // Letters small enough to be a smudge are no text.
      if (box.height < 9 && box.width < box.height * 40) tell('tiny text in ' + name, texts[index]);
      for (let other = 0; other < index; other++) {
        const against = boxes[other];
        if (box.left < against.right - 1 && against.left < box.right - 1 && box.top < against.bottom - 3 && against.top < box.bottom - 3)
          tell('a text lies on "' + texts[other].textContent + '" in ' + name, texts[index]);
      }
    });
  }
  // Wide tables scroll by themselves; the page does not.
  if (document.documentElement.scrollWidth > innerWidth + 1)
    wrong.push('the page is ' + document.documentElement.scrollWidth + ' wide in ' + innerWidth);
  const told = document.createElement('pre');
  told.id = 'found';
  told.textContent = JSON.stringify({ wrong, width: innerWidth, charts: charts.length,
    dark: matchMedia('(prefers-color-scheme: dark)').matches, height: document.documentElement.scrollHeight });
  document.body.append(told);
});
</script>
"""


def run(browser, directory, scheme, width, arguments, height=900):
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
        f"--user-data-dir={directory}/profile", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--window-size={width},{height}", *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def view(browser, directory, pictures, page, scheme, width):
    """What is wrong with one view of a page."""
    text = page.read_text()
    judged = directory / "judged.html"
    judged.write_text(text.replace("</head>", JUDGE + "</head>", 1))
    ran = run(browser, directory, scheme, width, ["--virtual-time-budget=2000", "--dump-dom", judged.as_uri()])
    found = FOUND.search(ran.stdout)
    if not found:
        return [f"the browser said nothing: {ran.stderr.strip()[-300:]}"]
    told = json.loads(html.unescape(found.group(1)))
    wrong = told["wrong"] + [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    if told["dark"] != (scheme == "dark"):
        wrong.append("the browser did not take the colour scheme")
    if pictures:
        picture = pathlib.Path(pictures) / f"{page.stem}-{scheme}-{width}.png"
        run(browser, directory, scheme, width, [f"--screenshot={picture}", page.as_uri()], told["height"] + 40)
    return wrong


def main(browser, directory, pictures, *pages):
    passed = failed = 0
    for page in map(pathlib.Path, pages):
        for scheme in SCHEMES:
            for width in WIDTHS:
                wrong = view(browser, pathlib.Path(directory), pictures, page, scheme, width)
                print(f"{'FAILED' if wrong else 'ok'}: {page.name}, {scheme}, {width} wide")
                for what in wrong[:20]:
                    print(f"  {what}")
                failed += bool(wrong)
                passed += not wrong
    if os.environ.get("HOLDFAST_TALLY"):
        with open(os.environ["HOLDFAST_TALLY"], "a", encoding="utf-8") as tally:
            print("browser", passed, failed, 0, file=tally)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


sys.exit(main(*sys.argv[1:]))
