import pytest
from conda_standin import settings
from conda_standin.errors import CondaError


@pytest.fixture
def places(tmp_path):
    """A base environment, a home and an active environment."""
    for name in ("base", "home", "active"):
        (tmp_path / name).mkdir()
    return tmp_path


def load(places, **environ):
    return settings.load(str(places / "base"), {"HOME": str(places / "home"), **environ})


def test_without_any(places):
    found = load(places)
    assert found.channels == []
    assert found.channel_alias == settings.NO_ALIAS
    assert found.pkgs_dirs == [f"{places}/base/pkgs", f"{places}/home/.conda/pkgs"]
    assert found.envs_dirs == [f"{places}/base/envs", f"{places}/home/.conda/envs"]
    assert (found.offline, found.remote_max_retries, found.remote_connect_timeout_secs) == (False, 3, 9.15)


def test_later_files_win_and_lists_are_joined(places):
    (places / "base/.condarc").write_text("channels: [conda-forge]\nchannel_alias: http://base\nremote_max_retries: 1\n")
    (places / "home/.condarc").write_text("channels: [mine, conda-forge]\nchannel_alias: http://home\n")
    (places / "active/condarc.d").mkdir()
    (places / "active/condarc.d/a.yml").write_text("channel_alias: http://active\n")
    (places / "named").write_text("channel: named\noffline: yes\n")
    found = load(places, CONDA_PREFIX=str(places / "active"), CONDARC=str(places / "named"))
    assert found.channels == ["named", "mine", "conda-forge"]
    assert (found.channel_alias, found.remote_max_retries, found.offline) == ("http://active", 1, True)
    assert load(places).channel_alias == "http://home"


def test_variables_come_first(places):
    (places / "home/.condarc").write_text("channels: [conda-forge]\noffline: true\nremote_max_retries: 5\n")
    found = load(
        places,
        CONDA_CHANNELS="a,b",
        CONDA_OFFLINE="0",
        CONDA_REMOTE_MAX_RETRIES="0",
        CONDA_REMOTE_CONNECT_TIMEOUT_SECS="1.5",
        CONDA_PKGS_DIRS="/p/one:/p/two",
        CONDA_CHANNEL_ALIAS="http://variable",
        CONDA_SHLVL="1",
    )
    assert found.channels == ["a", "b", "conda-forge"]
    assert (found.offline, found.remote_max_retries, found.remote_connect_timeout_secs) == (False, 0, 1.5)
    assert found.pkgs_dirs == ["/p/one", "/p/two"]
    assert found.channel_alias == "http://variable"


@pytest.mark.parametrize("text", ["channels: [", "just words"])
def test_a_broken_file_is_named(places, text):
    (places / "home/.condarc").write_text(text)
    with pytest.raises(CondaError, match=r"home/\.condarc") as caught:
        load(places)
    assert caught.value.kind == "ConfigurationLoadError"


def test_a_number_that_is_none(places):
    with pytest.raises(CondaError, match="remote_max_retries"):
        load(places, CONDA_REMOTE_MAX_RETRIES="many")


def test_certificates(places):
    found = load(places)
    assert settings.certificates(found, {}) is True
    assert settings.certificates(found, {"SSL_CERT_FILE": "/ssl"}) == "/ssl"
    assert settings.certificates(found, {"SSL_CERT_FILE": "/ssl", "REQUESTS_CA_BUNDLE": "/requests"}) == "/requests"
    assert settings.certificates(load(places, CONDA_SSL_VERIFY="/mine"), {"REQUESTS_CA_BUNDLE": "/requests"}) == "/mine"
    assert settings.certificates(load(places, CONDA_SSL_VERIFY="false"), {}) is False
    assert settings.certificates(load(places, CONDA_SSL_VERIFY="truststore"), {"SSL_CERT_FILE": "/ssl"}) == "/ssl"
