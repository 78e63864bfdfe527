"""Draws the sessions a second of limit and sweep as bars, as an SVG without any library.

It decides nothing about the figures: each case comes with its rates and its ratio.
"""

from html import escape

FONTS = "ui-sans-serif,system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif"
INK, PAPER, FRAME, FAINT, LIMIT, SWEEP = "#c9d1d9", "#0d1117", "#30363d", "#8b949e", "#57606a", "#3fb950"
WIDTH, LEFT, RIGHT, BAR, GAP, TOP = 880, 250, 120, 11, 14, 62


def draw(cases):
    """One pair of bars a case; bars of one latency share a scale."""
    body, top = [], TOP
    for latency in sorted({case.latency_ms for case in cases}):
        group = [case for case in cases if case.latency_ms == latency]
        most = max(max(case.limit, case.sweep) for case in group)
        body.append(f'<text x="22" y="{top}" class="h">an API that takes {latency} ms</text>')
        top += 14
        for case in group:
            body.append(pair(case, top, (WIDTH - LEFT - RIGHT) / most))
            top += 2 * BAR + GAP
        top += 26
    key = (
        f'<rect x="{LEFT}" y="22" width="11" height="11" fill="{LIMIT}"/><text x="{LEFT + 17}" y="32">the HTTP client alone</text>'
        f'<rect x="{LEFT + 190}" y="22" width="11" height="11" fill="{SWEEP}"/><text x="{LEFT + 207}" y="32">a whole sweep, with start and end</text>'
    )
    height = top
    style = f"text{{font:12px {FONTS};fill:{INK}}}.h{{font-weight:600}}.f{{fill:{FAINT}}}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="Sessions a second of a sweep beside those of its HTTP client alone">\n<style>{style}</style>\n'
        f'<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="9" fill="{PAPER}" stroke="{FRAME}"/>\n'
        f'<text x="22" y="32" class="f">sessions a second</text>{key}\n' + "\n".join(body) + "\n</svg>\n"
    )


def pair(case, top, scale):
    name = escape(f"{case.sessions:,} sessions, {case.answers} answers")
    limit, sweep = case.limit * scale, case.sweep * scale
    return (
        f'<text x="{LEFT - 10}" y="{top + BAR + 4}" text-anchor="end">{name}</text>'
        f'<rect x="{LEFT}" y="{top}" width="{limit:.1f}" height="{BAR}" fill="{LIMIT}"/>'
        f'<text x="{LEFT + limit + 6:.1f}" y="{top + 10}" class="f">{case.limit:,.0f}</text>'
        f'<rect x="{LEFT}" y="{top + BAR}" width="{sweep:.1f}" height="{BAR}" fill="{SWEEP}"/>'
        f'<text x="{LEFT + sweep + 6:.1f}" y="{top + BAR + 10}">{case.sweep:,.0f} · {case.whole:.2f}</text>'
    )
