"""Bridges to other libraries, one file each; each library is imported only when it is used."""
