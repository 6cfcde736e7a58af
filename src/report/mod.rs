//! Reports: curves, confusion matrices, tables and the one-page HTML, as bytes. Nothing here touches the disk.
