"""What stamps say of how shapes were read, and that a hand has turned them."""

from act3d.use.reading import Reading, turned, with_turn


def test_a_turned_shape_has_another_stamp_and_loses_nothing_of_the_old_one() -> None:
    stamp = "12-34 up=z"
    once = with_turn(stamp, "-x")
    assert once != stamp
    assert turned(once) == "-x"
    assert turned(stamp) == ""
    assert with_turn(once, "y") == with_turn(stamp, "y")
    assert with_turn(once, "") == stamp


def test_turned_shapes_do_not_change_how_the_others_are_read() -> None:
    assert Reading.of(["1-2 up=z", with_turn("3-4 up=z", "-x")]) == Reading("z")
    assert Reading.of([with_turn("3-4", "x")]) == Reading()
