"""How Sphinx builds these pages: `make docs`. https://www.sphinx-doc.org/en/master/usage/configuration.html"""

project = "Scoreboard"
copyright = "the Scoreboard developers"
extensions = ["myst_parser"]  # the pages are Markdown, which every forge shows as well
html_theme = "furo"
html_title = "Scoreboard"
html_extra_path = ["vectors"]
exclude_patterns = ["vectors"]
myst_heading_anchors = 3  # a link to a heading is checked, as a link to a page is
suppress_warnings = [
    "misc.highlighting_failure",  # blocks show what a command prints, with … for what varies
]
