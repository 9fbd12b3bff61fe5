# SPDX-License-Identifier: MIT
# What does a script pay that splits text and counts in hashes? The argument is the number of records. The
# numbers come from a generator with a fixed seed.
use strict;
use warnings;

my ($count) = @ARGV;
my ($live_size, $group_every, $state) = (20_000, 50_000, 20_011);

sub draw {
  my ($limit) = @_;
  $state = ($state * 1103515245 + 12345) % 2147483648;
  return int($state / 65536) % $limit;
}

sub make_record {
  my ($number) = @_;
  my $line = join ',', "user-$number", map { 'tag-' . draw(100) } 1 .. draw(6);
  my ($name, @tags) = split /,/, $line;
  return {id => $number, name => $name, tags => \@tags, note => 'x' x draw(200)};
}

sub group {
  my ($live) = @_;
  my (%groups, $length);
  for my $record (grep { defined } @$live) {
    push @{$groups{$_}}, $record->{name} for @{$record->{tags}};
  }
  $length += length join ',', sort @{$groups{$_}} for sort keys %groups;
  return $length // 0;
}

my (@live, $length);
for my $number (1 .. $count) {
  $live[draw($live_size)] = make_record($number);
  $length += group(\@live) if $number % $group_every == 0;
}
print "$count records, ", $length // 0, " characters grouped\n";
