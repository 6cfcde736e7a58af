//! Metrics: from predictions to numbers. Pure functions; nothing here draws, writes or trains.
