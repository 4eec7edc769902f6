"""The part of s2ice that is written in Rust."""

from collections.abc import Buffer, Callable
from typing import final

__all__ = ["TileCodec", "__version__", "build", "gdal_raster", "info"]

__version__: str
"""Version of the wheel."""

@final
class TileCodec:
    """Decodes the chunks of one array: tiles of a JPEG 2000 file, each kept in its place on the canvas.

    Instances hold no state beside the parsed main header; any number of threads may share one.
    """

    def __new__(cls, main_header: str, reduce: int = 0) -> TileCodec:
        """Parse a codec configuration.

        Parameters
        ----------
        main_header
            SOC and the SIZ, COD, COC, QCD, QCC, RGN, POC segments of the source file in base64.
        reduce
            Number of resolutions the chunks leave out.

        Raises
        ------
        CodecError
            The header is malformed, or describes what one regular Zarr chunk per tile cannot hold.
        """

    @property
    def components(self) -> int:
        """Number of components of the image."""

    @property
    def decoder(self) -> str:
        """What decodes: ``s2ice``, or ``OpenJPEG`` for what that leaves out and where ``S2ICE_DECODER`` says so."""

    @property
    def chunk_shape(self) -> tuple[int, int]:
        """(height, width) of a whole tile at this reduction, in samples."""

    @property
    def dtype(self) -> str:
        """Name of the sample type: ``uint8``, ``int8``, ``uint16`` or ``int16``."""

    @property
    def head_bytes(self) -> int:
        """Bytes at the start of a chunk that mostly hold the lengths of its packets."""

    def plan(
        self, head: Buffer, window: tuple[int, int, int, int] | None = None, gap: int = 0
    ) -> int | tuple[int, int, int, list[tuple[int, int]]] | None:
        """Tell what decoding a window needs.

        Parameters
        ----------
        head
            The first bytes of the chunk.
        window
            As in `decode`.
        gap
            Bytes between two ranges up to which they are read as one.

        Returns
        -------
        tuple
            Bytes of the chunk, of its head (SOT to SOD), up to the first packet that is not needed, and the ranges to
            read beside `head`. Or the number of first bytes to ask with again; or ``None``, where only the whole chunk
            will do.

        Raises
        ------
        CodecError
            The head is damaged, or of another grid.
        """

    def decode_parts(
        self,
        parts: list[tuple[int, Buffer]],
        out: Buffer,
        fill: int = 0,
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Decode a window as `decode` does, from its parts with their offsets: the head, and the ranges of the plan."""

    def decode(
        self,
        chunk: Buffer,
        out: Buffer,
        fill: int = 0,
        window: tuple[int, int, int, int] | None = None,
    ) -> None:
        """Decode a chunk, or a window of it, with the GIL released.

        Parameters
        ----------
        chunk
            The bytes of the chunk, C-contiguous; they are copied first.
        out
            Writable, C-contiguous bytes that hold (components, rows, columns) samples in native byte order. Written
            when all is decoded, or not at all.
        fill
            Value of the samples that lie outside the image.
        window
            (first row, end row, first column, end column) in samples of the chunk; the whole chunk by default.

        Raises
        ------
        CodecError
            The bytes are no tile of this header, are damaged, or `out` has another size.
        """

def build(request: str, progress: Callable[[str, int, int | None], object] | None = None) -> str:
    """Build a store; the request and the report are JSON. See `s2ice.build`."""

def info(store: str, options: str) -> str:
    """Tell what is in a store; the options and the report are JSON. See `s2ice.info`."""

def gdal_raster(store: str, options: str, array: str, span: tuple[int, int], folder: str, at: str | None = None) -> str:
    """Write one raster for GDAL; the options and the answer are JSON. See `s2ice.rasterio_path`."""

class FleetRun:
    """A run over the tiles of a configuration file, of which somebody else refreshes the tiles."""

    def __new__(cls, path: str, run: str, tiles: list[str], wish: str) -> FleetRun: ...
    @property
    def text(self) -> str:
        """The file's text."""

    @property
    def secrets(self) -> list[str]:
        """Keys that stand in the file itself."""

    @property
    def deadline(self) -> float | None:
        """After this time no tile shall be begun: seconds since 1970."""

    def due(self) -> list[tuple[int, str, str]]:
        """Return the tiles to be refreshed, those in most need first: number, tile and level."""

    def heard(self, number: int) -> str | None:
        """Return what the catalogue told of a tile when it was asked for all of them, for `Worker.refresh`."""

    def ended(self, number: int, word: str | None = None, lost: str | None = None) -> list[str]:
        """Take what became of a tile: what a worker gave, ``stopped`` or ``late``, or how it was lost."""

    def end(self) -> tuple[str, str, str | None, bool]:
        """End the run: the report as JSON and as a table, what is wrong, and whether it is merely stale."""

class FleetHousekeeping:
    """Housekeeping of the stores of a configuration file, of which somebody else does each."""

    def __new__(cls, path: str, run: str, tiles: list[str], work: str) -> FleetHousekeeping: ...
    @property
    def text(self) -> str:
        """The file's text."""

    @property
    def secrets(self) -> list[str]:
        """Keys that stand in the file itself."""

    def due(self) -> list[tuple[int, str, str]]:
        """Return the stores: number, tile and level."""

    def ended(self, number: int, word: str | None = None, lost: str | None = None) -> list[str]:
        """Take what became of a store: what a worker gave, ``stopped``, or how it was lost."""

    def end(self) -> tuple[str, str, str | None]:
        """Return the report as JSON and as a table, and what is wrong."""

class Worker:
    """What works on tiles of one run in this process."""

    def __new__(cls, path: str, text: str, run: str, wish: str, shares: bool) -> Worker: ...
    def refresh(self, number: int, heard: str | None = None) -> str:
        """Refresh a tile, of which the catalogue told this: JSON for `FleetRun.ended`, or ``stopped``."""

    def housekeep(self, number: int, work: str) -> str:
        """Do housekeeping of a store: JSON for `FleetHousekeeping.ended`, or ``stopped``."""

    def stop(self) -> None:
        """Stop the tiles that are refreshed; their stores stay as they were."""

    def demands(self) -> dict[str, tuple[tuple[int, float | None, int | None], int, int, int]]:
        """Return what is wanted of shared budgets, by origin: limits, connections in use, requests that wait, bytes."""

    def grant(self, origin: str, connections: int, received: int | None, is_last: bool) -> None:
        """Set what may be used of a shared budget."""
