//! Which of the library's ciphers a test program runs on. `./test` runs some programs once for each,
//! and reads the lines that this prints.

#[test]
fn the_named_cipher_is_in_use() {
    let in_use = zmtp_auth::cipher_in_use();
    println!(
        "\nciphers of this processor: {}",
        zmtp_auth::ciphers().join(" ")
    );
    println!("cipher in use: {in_use}");
    if let Ok(named) = std::env::var("ZMTP_AUTH_CIPHER") {
        assert_eq!(in_use, named);
    }
}
