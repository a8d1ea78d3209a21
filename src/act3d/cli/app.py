"""The whole command line as cyclopts reads it. A command's settings are imported only when its name is typed."""

from collections.abc import Container
from typing import Any

from cyclopts import App, Group

from act3d import __version__
from act3d.cli.table import COMMANDS, GROUPS

ABOUT = "act3d: pretrain 3D Transformers with pretrained image and text Transformers as teachers (ACT, ICLR 2023)"
EPILOGUE = """act3d COMMAND --help explains a command, its options and its presets.
--debug after any command shows where an error came from."""


def build_app(whole: Container[str]) -> App:
    """Return the command line with the options of the commands in `whole`; of others only the summary is known."""
    app = App(
        name="act3d",
        help=ABOUT,
        usage="Usage: act3d COMMAND [OPTIONS]",
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        version=f"act3d {__version__}",
        version_flags=["--version", "-V"],
        group_commands=Group("Options", sort_key=len(GROUPS)),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    app.register_install_completion_command(name="--install-completion")
    groups = {name: Group(name, help=text, sort_key=place) for place, (name, text) in enumerate(GROUPS.items())}
    for place, (name, entry) in enumerate(COMMANDS.items()):
        known: dict[str, Any] = {"name": name, "group": groups[entry.group], "sort_key": place}
        if name in whole:
            from act3d.cli.options import command_line_of, help_of

            app.command(command_line_of(name), **help_of(name), **known)
        else:
            app.command(lambda: None, help=entry.summary, **known)
    return app
