"""The schemas of STAC extensions and of GeoParquet, from a folder on this machine: nothing is asked of the network.

The folder is $S2ICE_SCHEMAS, or `stac/schemas` of the real data. Files lie there by their addresses:
`stac-extensions.github.io/eo/v2.0.0/schema.json`. Those of STAC itself come with pystac.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import rasterio
from pystac.validation.stac_validator import GetSchemaError, JsonSchemaSTACValidator

import real_data


def folder() -> Path | None:
    """Give the folder of schemas; none where there is none."""
    if named := os.environ.get("S2ICE_SCHEMAS"):
        return Path(named)
    data = real_data.find()
    return data / "stac/schemas" if data and (data / "stac/schemas").is_dir() else None


class Validator(JsonSchemaSTACValidator):
    """pystac's, with schemas of the folder alone."""

    def __init__(self) -> None:
        super().__init__()
        found = folder()
        for path in sorted(found.rglob("*.json")) if found else []:
            self.schema_cache[f"https://{path.relative_to(found).as_posix()}"] = json.loads(path.read_text())
        # Datacube and projection lead to two versions; PROJ brings the newest, which has the same of what they ask.
        projjson = json.loads((Path(rasterio.__file__).parent / "proj_data/projjson.schema.json").read_text())
        for version in ("v0.4", "v0.7"):
            self.schema_cache[f"https://proj.org/schemas/{version}/projjson.schema.json"] = projjson

    def _get_schema(self, schema_uri: str) -> dict[str, Any]:
        if schema_uri not in self.schema_cache:
            raise GetSchemaError(schema_uri, FileNotFoundError(schema_uri))
        return self.schema_cache[schema_uri]

    def conforms(self, value: Any, schema_uri: str) -> None:
        """Check any document by a schema of the folder."""
        schema = self._get_schema(schema_uri)
        jsonschema.validators.validator_for(schema)(schema, registry=self.registry).validate(value)
