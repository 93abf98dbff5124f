package main

func updateDocs(results, page string) error { return nil }
