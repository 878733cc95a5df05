"""Live market data: from exchange frames to closed, contiguous bars."""
