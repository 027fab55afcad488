"""HL7 version 2 as Imex speaks it: framing (MLLP), reading, and acknowledgements. Pure."""
