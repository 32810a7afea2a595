PYTHON ?= python3
VENV := .venv
FOLDERS := configs sensors export stream train cli

# What type checkers need to see through the mapped layout: build/ns/skelanon/<folder> -> <folder>.
.PHONY: links
links:
	mkdir -p build/ns/skelanon
	for f in $(FOLDERS); do ln -sfn ../../../$$f build/ns/skelanon/$$f; done
