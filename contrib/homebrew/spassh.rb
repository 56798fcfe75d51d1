# The client for Homebrew. Not built here: see ../README.md. The source is not published
# anywhere, so url and sha256 are those of a file that scripts/package has built.
class Spassh < Formula
  include Language::Python::Virtualenv

  desc "Single Packet Authorization for the SSH you already use: client"
  homepage "https://spassh.invalid/"
  url "file:///path/to/dist/spassh-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "MIT"

  depends_on "cryptography"
  depends_on "python@3.13"

  # Its source is a file too, as PyPI has it.
  resource "platformdirs" do
    url "file:///path/to/platformdirs-4.0.0.tar.gz"
    sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  end

  def install
    environment = virtualenv_create(libexec, "python3.13")
    environment.pip_install resources
    environment.pip_install buildpath
    # What the wheel has for servers stays where nobody calls it.
    bin.install_symlink libexec/"bin/spassh"
    man1.install "man/spassh.1"
    man5.install "man/spassh.toml.5"
    man7.install "man/spassh-protocol.7"
    bash_completion.install "contrib/completion/bash/spassh"
    fish_completion.install "contrib/completion/fish/spassh.fish"
    zsh_completion.install "contrib/completion/zsh/_spassh"
    pkgshare.install "contrib/ssh_config.example"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/spassh --version")
  end
end
