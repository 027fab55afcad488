"""Takes instances from known senders and makes them safe before it says SUCCESS."""
