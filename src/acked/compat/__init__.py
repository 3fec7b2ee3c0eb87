"""Drop-in faces of other libraries, over the public API of `acked`."""
