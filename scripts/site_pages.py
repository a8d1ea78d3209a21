"""Pages of the site that are made when it is built: tutorials from notebooks, commands and presets from the code.

mkdocs calls the functions that start with `on_`. Nothing here imports torch.
"""

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Pages that stand elsewhere in the repository, and their place in the site.
ELSEWHERE = {
    "benchmarks/RESULTS.md": "results/speed.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_config(config: Any) -> Any:
    """Let blocks of ```math become MathML, which needs no script; add pages that stand in no menu to the last one."""
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    more = sorted(pages - set(re.findall(r"[\w/]+\.md", json.dumps(config["nav"]))))
    if more:
        config["nav"].append({"More": more})
    fences = config["mdx_configs"].setdefault("pymdownx.superfences", {})
    fences["custom_fences"] = [{"name": "math", "class": "math", "format": math_block}]
    return config


def math_block(source: str, *_: Any, **__: Any) -> str:
    """Return TeX as MathML."""
    from latex2mathml.converter import convert

    return f'<div class="math">{convert(" ".join(source.split()), display="block")}</div>'


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are made."""
    made = {place: (ROOT / source).read_text(encoding="utf-8") for source, place in ELSEWHERE.items()}
    made |= {"reference/commands.md": commands_page(), "reference/presets.md": presets_page()}
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    scaling = (ROOT / "benchmarks/scaling.png").read_bytes()
    files.append(File.generated(config, "results/scaling.png", content=scaling))
    for notebook in sorted((ROOT / "docs/tutorials").glob("*.ipynb")):
        pictures: dict[str, bytes] = {}
        text = tutorial_page(json.loads(notebook.read_text(encoding="utf-8")), notebook.stem, pictures)
        files.append(File.generated(config, f"tutorials/{notebook.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    source = next((path for path, place in ELSEWHERE.items() if place == here), f"docs/{here}")

    def target(found: re.Match[str]) -> str:
        if ":" in found[2]:
            return found[0]
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        place = ELSEWHERE.get(wanted, wanted.removeprefix("docs/"))
        if not here.startswith("tutorials/"):
            place = re.sub(r"\.ipynb$", ".md", place)  # the page with what the notebook printed
        place = "results/scaling.png" if wanted == "benchmarks/scaling.png" else place
        return found[1] + posixpath.relpath(place, posixpath.dirname(here) or ".")

    return LINK.sub(target, markdown)


def tutorial_page(notebook: dict[str, Any], name: str, pictures: dict[str, bytes]) -> str:
    """Return a stored notebook as Markdown; its pictures go into `pictures` by file name."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{name}-{len(pictures)}.png"
                pictures[picture] = base64.b64decode(data["image/png"])
                parts.append(f"![What this cell draws]({picture})")
            else:
                shown = "".join(output.get("text") or data["text/plain"]).rstrip()
                parts.append(f"```text\n{shown}\n```")
    notice = f"*This page is the notebook [{name}.ipynb]({name}.ipynb), with what it printed. "
    notice += f"As a script: `examples/{name}.py`.*"
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, notice, rest, *parts[1:]]) + "\n"


def commands_page() -> str:
    """Return the reference of all commands and their settings."""
    from act3d.cli.table import COMMANDS, GROUPS

    parts = [
        "# Command line",
        "`act3d COMMAND --help` shows the same. Every command is also a function of the package `act3d`: "
        '`--data.root data/mine` is `data={"root": "data/mine"}` there. `--config PRESET|FILE` takes settings from a '
        "[preset](presets.md) or a YAML file and may come several times: later ones win, options win over all. "
        "`--debug` shows where an error came from.",
    ]
    for group in GROUPS:
        parts.append(f"## {group}")
        parts += [command_section(name) for name, command in COMMANDS.items() if command.group == group]
    return "\n\n".join(parts) + "\n"


def command_section(name: str) -> str:
    """Return what a command does, its examples, and a table of its settings."""
    import inspect

    from act3d.cli.table import COMMANDS, settings_of
    from act3d.settings.layers import fields

    model = settings_of(name)
    about = "\n\n".join(" ".join(text.split()) for text in (inspect.getdoc(model) or "").split("\n\n"))
    rows = "\n".join(setting_row(model, key, field) for key, field in fields(model).items())
    examples = "\n".join(COMMANDS[name].examples)
    return (
        f"### act3d {name}\n\n{about}\n\n```\n{examples}\n```\n\n"
        f'??? note "Settings of {name}"\n\n    | setting | default | meaning |\n    |---|---|---|\n{rows}'
    )


def setting_row(model: Any, key: str, field: Any) -> str:
    """Return one setting as a row of a table."""
    from typing import Literal, get_args, get_origin

    from act3d.settings.messages import describe, value_type
    from act3d.settings.model import default_of

    hint = value_type(field.annotation)
    choices = f" One of {', '.join(f'`{choice}`' for choice in get_args(hint))}." if get_origin(hint) is Literal else ""
    default = "needed" if field.is_required() else default_of(model, key)
    shown = "" if default in ("", None) else default if default == "needed" else f"`{json.dumps(default, default=str)}`"
    called = key.upper() if key in model.positionals else f"--{key}"
    meaning = re.sub(r"([|<>*_])", r"\\\1", describe(field))
    return f"    | `{called}` | {shown} | {meaning}{choices} |"


def presets_page() -> str:
    """Return all presets with their files."""
    from act3d.presets import FOLDER, preset_names

    parts = ["# Presets", "`--config NAME` takes these; they hold only what differs from a command's defaults."]
    for name in preset_names():
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").rstrip()
        parts.append(f"## {name}\n\n```yaml\n{text}\n```")
    return "\n\n".join(parts) + "\n"
