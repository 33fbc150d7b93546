"""`robolearn run`: start a recipe after checking that no foreign package stands in our place."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from robolearn.errors import UnknownName


def main(arguments: Sequence[str]) -> int:
    """Run the file named first; what follows is its own command line."""
    recipes = sorted(str(path) for path in Path("launch").glob("*.py"))
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(f"usage: robolearn run <recipe> [its options]\nrecipes here: {', '.join(recipes) or 'none'}\n")
        return 0
    recipe = Path(arguments[0])
    if not recipe.is_file():
        raise UnknownName("recipe", str(recipe), recipes)
    sys.argv = [str(recipe), *arguments[1:]]
    runpy.run_path(str(recipe), run_name="__main__")
    return 0
