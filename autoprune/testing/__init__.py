"""Fakes and conformance suites, public: extensions inherit them to prove that they keep the contracts."""
