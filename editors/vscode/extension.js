// Starts graphspec's language server for YAML files; all else is the server's.
const { workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function activate() {
  const [command, ...args] = workspace.getConfiguration("graphspec").get("command");
  const run = { command, args };
  const options = { documentSelector: [{ scheme: "file", language: "yaml" }] };
  client = new LanguageClient("graphspec", "graphspec", { run, debug: run }, options);
  return client.start();
}

function deactivate() {
  return client ? client.stop() : undefined;
}

module.exports = { activate, deactivate };
