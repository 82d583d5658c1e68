from tools.cli_docs import TARGET, document


def test_the_page_of_commands_is_up_to_date() -> None:
    assert TARGET.read_text() == document(), "run: python -m tools.cli_docs"
