"""Answering clinics: the REST service over a released bundle."""
