import base64
import os
import threading

import pytest

from service.ledger.crypto import SealError, Vault, vault


def test_a_text_opens_only_with_its_own_key_exchange_and_event():
    """A sealed text opens for the event it was sealed for, and for no other event, exchange or master key."""
    keys = Vault([os.urandom(32)])
    key = keys.new_key("exc_1")
    texts = {"passages": ["a text, naïve"]}
    sealed = key.seal("exc_1:asked", texts)
    assert b"a text, na" not in sealed
    assert keys.open("exc_1", key.master_id, key.wrapped, "exc_1:asked", sealed) == texts
    with pytest.raises(SealError, match="changed"):
        keys.open("exc_1", key.master_id, key.wrapped, "exc_1:closed", sealed)
    with pytest.raises(SealError, match="changed"):
        keys.open("exc_2", key.master_id, key.wrapped, "exc_1:asked", sealed)
    with pytest.raises(SealError, match="not among"):
        Vault([os.urandom(32)]).open("exc_1", key.master_id, key.wrapped, "exc_1:asked", sealed)


def test_every_changed_byte_is_noticed():
    """Flipping any byte of key or text makes opening fail instead of giving another text."""
    keys = Vault([os.urandom(32)])
    key = keys.new_key("exc_1")
    sealed = key.seal("e", "text")
    for whole in (key.wrapped, sealed):
        for i in range(len(whole)):
            bent = whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :]
            wrapped, text = (bent, sealed) if whole is key.wrapped else (key.wrapped, bent)
            with pytest.raises(SealError):
                keys.open("exc_1", key.master_id, wrapped, "e", text)


def test_half_a_surrogate_pair_can_be_sealed():
    """Text that is not valid Unicode, which JSON can carry, is recorded all the same."""
    keys = Vault([os.urandom(32)])
    key = keys.new_key("exc_1")
    assert keys.open("exc_1", key.master_id, key.wrapped, "e", key.seal("e", "a\ud800b")) == "a\ud800b"


def test_master_keys_rotate_without_losing_texts_or_hashes():
    """After a new master key is put first, old texts still open, new ones use the new key, and hashes stay."""
    old, new = os.urandom(32), os.urandom(32)
    before, after = Vault([old]), Vault([new, old])
    key = before.new_key("exc_1")
    assert after.open("exc_1", key.master_id, key.wrapped, "e", key.seal("e", "text")) == "text"
    assert after.new_key("exc_1").master_id != key.master_id
    assert after.keyed_hash("api_key", "k") == before.keyed_hash("api_key", "k")
    assert after.keyed_hash("subject", "k") != after.keyed_hash("api_key", "k")


def test_the_master_key_file_is_made_once_and_private(tmp_path):
    """Many starters at the same time make one key file, readable by its owner alone, and all use the same key."""
    ids: list[str] = []
    starters = [threading.Thread(target=lambda: ids.append(vault(tmp_path / "new").master_id)) for _ in range(16)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert len(ids) == 16
    assert len(set(ids)) == 1
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["master.key"]
    assert (tmp_path / "new" / "master.key").stat().st_mode & 0o777 == 0o600


def test_an_unusable_master_key_is_refused_with_advice(tmp_path):
    """A key that is no base64, too short, or open to everybody is refused, and the message says what to do."""
    for wrong in ("not base64!", base64.b64encode(b"short").decode()):
        with pytest.raises(SealError, match="openssl rand -base64 32"):
            vault(tmp_path, wrong)
    vault(tmp_path)
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(SealError, match="chmod 600"):
        vault(tmp_path)
