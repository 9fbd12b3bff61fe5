# SPDX-License-Identifier: MIT
# Hashes, sorting, regular expressions, strings that grow, and children that fork from a large heap.
use strict;
use warnings;

my %count;
for my $i (1 .. 200_000) {
  my $key = "key" . ($i * 7919 % 50_021);
  $count{$key} .= chr(97 + $i % 26);
}
my $text = join ' ', map { "$_=$count{$_}" } sort keys %count;
print length($text), ' ', unpack('%32C*', $text), "\n";
my $matches = () = $text =~ /key(\d+)=([a-m]+)\b/g;
print "$matches\n";
(my $turned = $text) =~ s/(\w+)=(\w+)/$2=$1/g;
print unpack('%32C*', substr $turned, 0, 500_000), "\n";
my @rows = sort { $a->[1] <=> $b->[1] || $a->[0] cmp $b->[0] } map { [$_, length $count{$_}] } keys %count;
print "$rows[0][0] $rows[-1][0]\n";
$| = 1;
for my $child (1 .. 3) {
  my $pid = fork // die;
  if ($pid == 0) {
    my %own = map { $_ => $count{$_} x $child } keys %count;
    my $sum = 0;
    $sum += length for values %own;
    print "child $child $sum\n";
    exit 0;
  }
  waitpid $pid, 0;
  print "status $?\n";
}
