"""The key pair for ssh: its public half in EC2, its private half in SSM, so that any machine of the profile attaches.

SSM's Parameter Store encrypts the private key with the account's own KMS key; the instances' role cannot read it.
"""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .aws import Aws, aws_errors, error_code
from .errors import CloudError
from .pieces import Found

MOST = 1 << 16
"""Characters that are read of a key's file."""


def parameter_name(aws: Aws) -> str:
    """The SSM parameter with the private key."""
    return f"/{aws.settings.name}/ssh-private-key"


def local_path(aws: Aws) -> Path:
    """Where the private key is kept on this machine, as `ssh -i` wants it."""
    settings = aws.settings
    return Path("~/.ssh").expanduser() / f"{settings.name}-{aws.account}-{settings.region}"


def private_key(aws: Aws) -> Path:
    """The private key's file on this machine, fetched from SSM when it is not here yet.

    Raises CloudError when the account has none, and for a file that ssh would not use, or others can read.
    """
    path = local_path(aws)
    text = _kept(path)
    if text is None:
        text = _stored(aws)
        if text is None:
            raise CloudError("there is no ssh key for this account and region", fix="run `inv setup` first")
        _public(text, f"SSM's {parameter_name(aws)}")
        _write(path, text)
    else:
        _public(text, path)
    return path


def _kept(path: Path) -> str | None:
    """The private key on this machine; None if there is none.

    Raises CloudError for a file that ssh would refuse: https://man.openbsd.org/ssh#FILES
    """
    with _file_errors(path, "read"):
        try:
            with open(path, encoding="utf-8", opener=_at_once) as file:
                mode = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    raise CloudError(f"{path} is no file", fix="move it away: the ssh key's file has this name")
                if mode & 0o077:
                    raise CloudError(
                        f"the ssh key {path} is open to others of this machine",
                        fix=f"chmod 600 {shlex.quote(str(path))}",
                    )
                return file.read(MOST)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _at_once(path: str, flags: int) -> int:
    """Open without waiting, as one would for a pipe's other end."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def look(aws: Aws) -> Found:
    """What there is of the key pair. Each part leaves something the next run can go on from: the private key is stored
    before EC2 learns its public half.

    Raises CloudError when EC2 has a key pair of this name whose private key is nowhere to be found.
    """
    registered, stored, path = _registered(aws), _stored(aws), local_path(aws)
    kept = _kept(path)
    if registered and not (stored or kept):
        raise CloudError(
            f"EC2 has a key pair {aws.settings.name!r}, but its private key is neither in SSM nor in {path}",
            fix=f"if it is not needed: {_deletion(aws)}, then the same again",
        )
    private = stored or kept or _generate()
    place = f"SSM's {parameter_name(aws)}" if stored else path
    public = _public(private, place)
    if registered and registered.split()[:2] != public.split()[:2]:
        raise CloudError(
            f"EC2's key pair {aws.settings.name!r} does not belong to the private key in {place}",
            fix=f"{_deletion(aws)}, then the same again",
        )
    missing = [
        *([] if stored else [partial(_store, aws, private)]),
        *([] if registered else [partial(_register, aws, public)]),
        *([] if kept == private else [partial(_write, path, private)]),
    ]
    return Found(bool(registered or stored), missing)


def remains(aws: Aws) -> list[Callable[[], object]]:
    """What removes each part that is there, the private key last."""
    path = local_path(aws)
    return [
        *([partial(_unregister, aws)] if _registered(aws) else []),
        *([partial(_forget, aws)] if _stored(aws) else []),
        *([path.unlink] if path.exists() else []),
    ]


def _deletion(aws: Aws) -> str:
    return f"aws ec2 delete-key-pair --key-name {aws.settings.name}"


def _registered(aws: Aws) -> str | None:
    """The public key that EC2 has under our name, an OpenSSH line; None when it has none."""
    with aws_errors("look for the key pair"):
        try:
            found = aws.ec2.describe_key_pairs(KeyNames=[aws.settings.name], IncludePublicKey=True)
        except aws.ec2.exceptions.ClientError as error:
            if error_code(error) == "InvalidKeyPair.NotFound":
                return None
            raise
    return found["KeyPairs"][0]["PublicKey"]


def _stored(aws: Aws) -> str | None:
    """The private key in SSM; None when there is none."""
    with aws_errors("read the private key from SSM"):
        try:
            found = aws.ssm.get_parameter(Name=parameter_name(aws), WithDecryption=True)
        except aws.ssm.exceptions.ParameterNotFound:
            return None
    return found["Parameter"]["Value"]


def _store(aws: Aws, text: str) -> None:
    with aws_errors("store the private key in SSM"):
        aws.ssm.put_parameter(
            Name=parameter_name(aws), Value=text, Type="SecureString", Description="ssh key of solver-cloud's instances"
        )


def _forget(aws: Aws) -> None:
    with aws_errors("delete the private key in SSM"):
        aws.ssm.delete_parameter(Name=parameter_name(aws))


def _register(aws: Aws, public: str) -> None:
    with aws_errors("import the key pair"):
        aws.ec2.import_key_pair(KeyName=aws.settings.name, PublicKeyMaterial=public.encode())


def _unregister(aws: Aws) -> None:
    with aws_errors("delete the key pair"):
        aws.ec2.delete_key_pair(KeyName=aws.settings.name)


def _generate() -> str:
    """A new Ed25519 private key in OpenSSH's format."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        .decode()
    )


def _public(private: str, place: object) -> str:
    """The public half of an OpenSSH private key, as one line. Raises CloudError when it is no such key.

    place: where the key is from.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_ssh_private_key(private.encode(), password=None)
        public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CloudError(
            f"{place} is no ssh key that can be used: damaged, encrypted, or of another kind",
            fix="move it away; `inv setup` then fetches it again, or makes another",
        ) from None
    return public.decode()


def _write(path: Path, text: str) -> None:
    """Write a private key whole, readable by its owner only from its first byte on (mkstemp makes it 0600)."""
    with _file_errors(path, "write"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(temporary, path)


@contextmanager
def _file_errors(path: Path, doing: str) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        raise CloudError(
            f"cannot {doing} the ssh key {path}: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from None
