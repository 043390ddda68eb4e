# SPDX-License-Identifier: Apache-2.0 OR MIT
# socket.pl serial NUMBER | bytes HEX: has a socket of the family AF_ALG encrypt
# `/plain` by AES in CBC mode with a key, and writes what comes of it, in hex; or why
# nothing does. perl has sockets and system calls, and is everywhere.

# linux/socket.h, linux/if_alg.h, asm/unistd_64.h
my ($AF_ALG, $SOCK_SEQPACKET, $SOL_ALG) = (38, 5, 279);
my ($ACCEPT, $SENDMSG) = (43, 46);
my ($SET_KEY, $SET_IV, $SET_OP, $SET_KEY_BY_SERIAL) = (1, 2, 3, 7);
my $ENCRYPT = 1;

sub end { print "$!\n"; exit }

my ($how, $key) = @ARGV;
my ($option, $value) =
    $how eq 'serial' ? ($SET_KEY_BY_SERIAL, pack 'l', $key) : ($SET_KEY, pack 'H*', $key);
open my $file, '<', '/plain' or end;
my $plain = <$file>;

socket my $cipher, $AF_ALG, $SOCK_SEQPACKET, 0 or end;
bind $cipher, pack 'S a14 L L a64', $AF_ALG, 'skcipher', 0, 0, 'cbc(aes)' or end;
setsockopt $cipher, $SOL_ALG, $option, $value or end;
# perl's own asks for an address, which there is none.
my $number = syscall $ACCEPT, fileno $cipher, 0, 0;
$number >= 0 and open my $operation, '+<&=', $number or end;

# struct cmsghdr, twice, each filled up to 8 bytes; struct iovec; struct msghdr.
my $control = pack('Q l l L x4', 16 + 4, $SOL_ALG, $SET_OP, $ENCRYPT)
    . pack('Q l l L a16 x4', 16 + 4 + 16, $SOL_ALG, $SET_IV, 16, 'an IV, 16 bytes.');
my $vector = pack 'P Q', $plain, length $plain;
my $message = pack 'Q L x4 P Q P Q l x4', 0, 0, $vector, 1, $control, length $control, 0;
syscall($SENDMSG, fileno $operation, $message, 0) == length $plain or end;
sysread $operation, my $sealed, length $plain or end;
print unpack('H*', $sealed), "\n";
