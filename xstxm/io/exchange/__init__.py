"""Data Exchange: HDF5 files of Mantis and of microscopes of the APS."""

from xstxm.io._format import Format
from xstxm.io._sources import is_hdf5
from xstxm.io.exchange.reader import is_exchange, open_exchange

EXCHANGE = Format(
    name="exchange",
    title="a Data Exchange file",
    files=".hdf5, .h5",
    written_by="Mantis, microscopes of the APS",
    recognises=lambda source, head: is_hdf5(head) and is_exchange(source),
    open=open_exchange,
    options=("axes", "kind", "pixel_size"),
    experimental="all of it",
)

__all__ = ["EXCHANGE", "is_exchange", "open_exchange"]
