"""The words that others have for what s2ice takes, and a sentence for words that are nobody's."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2ice.errors import CredentialsError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAME = {
    "access_key_id": ("key", "access_key", "aws_access_key_id", "accesskeyid"),
    "secret_access_key": ("secret", "secret_key", "aws_secret_access_key", "secretaccesskey"),
    "session_token": ("token", "aws_session_token", "sessiontoken"),
    "anonymous": ("anon", "skip_signature", "aws_skip_signature"),
    "region": ("region_name", "aws_region", "aws_default_region"),
    "endpoint_url": ("endpoint", "aws_endpoint", "aws_endpoint_url", "endpoint_override"),
    "account": ("account_name", "azure_storage_account_name"),
    "profile": ("profile_name", "aws_profile"),
    "allow_http": ("aws_allow_http",),
}
"""s2ice's words, which are Icechunk's, and those of boto3, fsspec, obstore and GDAL."""

_OURS = {word: ours for ours, others in _SAME.items() for word in (ours, *others)}
_NESTED = ("client_kwargs", "config_kwargs", "s3_additional_kwargs")
_KEYS = ("access_key_id", "secret_access_key", "session_token")
_CREDENTIALS = {*_KEYS, "anonymous", "from_env", "expires_after", "get_credentials"}

_PASSED = frozenset(
    {
        "chunked_array_type",
        "concat_characters",
        "create_default_indexes",
        "decode_cf",
        "decode_coords",
        "decode_timedelta",
        "decode_times",
        "drop_variables",
        "from_array_kwargs",
        "mask_and_scale",
        "overwrite_encoded_chunks",
        "use_cftime",
    }
)
"""What `xarray.open_zarr` and `xarray.open_datatree` both take beyond what is given to them here."""

_OF_CUBE = frozenset(
    [
        "aoi",
        "bands",
        "bbox",
        "bounds",
        "bounds_crs",
        "crs",
        "datetime",
        "end",
        "geometry",
        "geobox",
        "groupby",
        "intersects",
        "like",
        "mask",
        "max_cloud_cover",
        "measurements",
        "resampling",
        "start",
        "time",
    ]
)


def check(given: Iterable[str], own: Iterable[str]) -> None:
    """Refuse keywords of `s2ice.open` that neither it nor xarray knows.

    Raises
    ------
    RequestError
        With the word that was meant, if one is near.
    """
    for word in given:
        if word in _PASSED:
            continue
        if word in _OF_CUBE:
            raise RequestError(
                f"open opens a store as it is and takes no {word}: s2ice.cube(store, {word}=...) makes one cube of it, "
                "or select from what open returns"
            )
        if _OURS.get(word) == "anonymous":
            raise RequestError(f"open takes no {word}: did you mean anonymous?")
        if _OURS.get(word) in _CREDENTIALS:
            raise RequestError(
                f"open takes no {word}: give it for the source as credentials={{{word!r}: ...}}, or for the store as "
                f"storage_options={{{word!r}: ...}}"
            )
        if word in _OURS:
            raise RequestError(f"open takes no {word}: give it for the store as storage_options={{{word!r}: ...}}")
        raise RequestError(f"open takes no {word}{meant(word, {*own, *_PASSED} - {'kwargs'})}")


def meant(word: str, known: Iterable[str]) -> str:
    """Return `: did you mean ...?` where a known word is near, else nothing."""
    near = get_close_matches(word, sorted(known), n=1)
    return f": did you mean {near[0]}?" if near else ""


def options(given: Mapping[str, Any] | None, what: str = "storage_options") -> dict[str, Any]:
    """Say options of a place in the words of Icechunk.

    Raises
    ------
    RequestError
        One thing is said twice, with different values.
    CredentialsError
        There is no such AWS profile.
    """
    if given is not None and not isinstance(given, Mapping):
        raise RequestError(f"{what} is a mapping of options, such as {{'anonymous': True}}, not {given!r}")
    said: dict[str, tuple[str, Any]] = {}
    for word, value in _flat(given or {}):
        ours = _OURS.get(word.lower(), word)
        if ours == "session_token" and value == "anon":
            ours, value = "anonymous", True
        if ours == "use_ssl":
            ours, value = "allow_http", not value
        if ours in said and said[ours][1] != value:
            raise RequestError(
                f"{what} says two things: {said[ours][0]} and {word} both mean {ours}, with different values"
            )
        said[ours] = (word, value)
    out = {ours: value for ours, (_, value) in said.items()}
    if out.get("anonymous") and any(key in out for key in _KEYS):
        raise RequestError(f"{what} has keys and asks for anonymous access: leave one of them out")
    profile = out.pop("profile", None)
    return {**_profile(profile), **out} if profile is not None else out


def _flat(given: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for word, value in given.items():
        if word in _NESTED and isinstance(value, Mapping):
            yield from _flat(value)
        elif word == "s3" and isinstance(value, Mapping) and "addressing_style" in value:
            yield "force_path_style", value["addressing_style"] == "path"
        else:
            yield str(word), value


def credentials(given: Any) -> Any:
    """Say credentials, of one source or by the names of several, in the words of Icechunk."""
    if all(hasattr(given, name) for name in ("access_key", "secret_key", "token")):
        # What boto3.Session().get_credentials() returns.
        given = {"access_key_id": given.access_key, "secret_access_key": given.secret_key, "session_token": given.token}
        return {key: value for key, value in given.items() if value is not None}
    if not isinstance(given, Mapping):
        return given
    words = {_OURS.get(str(word).lower(), word) for word in given}
    if not words & {*_CREDENTIALS, "profile"}:
        return {name: credentials(value) for name, value in given.items()}
    out = options(given, "credentials")
    if "profile" in words:
        out = {key: value for key, value in out.items() if key in _CREDENTIALS}
    for word in out:
        if word in {"region", "endpoint_url", "allow_http", "force_path_style"}:
            raise RequestError(
                f"credentials takes no {word}: it belongs to the place, source={{'url': ..., {word!r}: ...}}"
            )
        if word not in _CREDENTIALS:
            known = [other for other, ours in _OURS.items() if ours in _CREDENTIALS]
            raise RequestError(f"credentials takes no {word}{meant(word, known)}")
    return out


def source(given: Any, keys: Any) -> tuple[Any, Any]:
    """Say another place of a source in the words of Icechunk; return it, and the credentials that it came with."""
    if not isinstance(given, Mapping):
        return given, keys
    if "url" not in given:
        pairs = {name: source(value, None) for name, value in given.items()}
        own = {name: found for name, (_, found) in pairs.items() if found is not None}
        return {name: place for name, (place, _) in pairs.items()}, _one(keys, own or None)
    place = options(given, "source")
    own = {key: place.pop(key) for key in _KEYS if key in place}
    return place, _one(keys, own or None)


def _one(keys: Any, own: Any) -> Any:
    if keys is not None and own is not None:
        raise RequestError("credentials are given twice: in credentials and in source")
    return own if keys is None else keys


def _profile(name: Any) -> dict[str, Any]:
    """Read the keys of an AWS profile, with its region and endpoint where it has them."""
    home = Path.home() / ".aws"
    places = {"AWS_SHARED_CREDENTIALS_FILE": home / "credentials", "AWS_CONFIG_FILE": home / "config"}
    files = [Path(os.environ.get(variable) or default).expanduser() for variable, default in places.items()]
    found: dict[str, Any] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except configparser.Error as error:
            raise CredentialsError(f"{file} cannot be read: {error}") from None
        for section in (str(name), f"profile {name}"):
            if parser.has_section(section):
                found = dict(parser.items(section)) | found
    kept = {
        _OURS[word]: value for word, value in found.items() if _OURS.get(word) in {*_KEYS, "region", "endpoint_url"}
    }
    if not {"access_key_id", "secret_access_key"} <= set(kept):
        listed = " or ".join(map(str, files))
        raise CredentialsError(
            f"the AWS profile {name!r} has no keys in {listed}: give them as credentials={{'key': ...}}"
        )
    return kept
