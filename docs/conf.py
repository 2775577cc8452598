import favcrm

project = "favcrm"
author = "FavCRM SDK contributors"
copyright = f"2026, {author}"
release = favcrm.__version__
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"favcrm {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

nitpick_ignore_regex = [
    # The standard library has no pages here, and none can be asked for offline.
    ("py:class", r"(collections\.abc|datetime|enum|os|pathlib|ssl|types|typing)\..+|datetime|Path|PathLike"),
]
