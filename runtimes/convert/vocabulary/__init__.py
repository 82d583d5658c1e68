"""A model's tokenizer as keys of a GGUF header: byte-level BPE, SentencePiece and WordPiece."""
